"""The experiment image: the allow-list of packages, the Dockerfile and how it is built."""
