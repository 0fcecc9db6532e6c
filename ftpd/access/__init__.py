"""Who may do what: users and their credentials, their rights on paths, and a store as one of them sees it."""
