"""Who may see and do what on the web page: roles, logins, trusted proxies, and the rules that requests must keep."""
