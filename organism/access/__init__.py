"""Who may do what: roles, keys, the audit log, limits. How a request is told apart is serve_app/auth.py."""
