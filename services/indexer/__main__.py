"""`python -m services.indexer`."""

from services.indexer.main import main

if __name__ == "__main__":
    main()
