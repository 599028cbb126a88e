"""What clients send, checked: inputs, labels, specs, pages; and the call itself."""
