"""Interactive panels for notebooks: small classes with tested state, and one plain JavaScript module each."""
