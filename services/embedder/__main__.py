"""`python -m services.embedder`."""

from services.embedder.main import main

if __name__ == "__main__":
    main()
