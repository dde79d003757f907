"""The protocol as a model: what a correct server may answer in any dialogue whatever."""
