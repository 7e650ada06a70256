"""A shared MLflow server: PostgreSQL, a store of artifacts, users with passwords, backups. See launch/server.sh."""
