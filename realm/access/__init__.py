"""Who calls, and what they may: keys, tokens, scopes, and the interceptor that asks for them."""
