"""The methods of the asynchronous client; `blocking` is generated from them by `make client`."""
