"""Fast forms of the hot operations; the plain torch functions are their oracle, their documentation and the fallback."""
