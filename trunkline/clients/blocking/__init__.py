"""The methods of the blocking client, made by `make client`."""
