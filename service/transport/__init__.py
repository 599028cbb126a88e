"""From bytes to messages and back: gRPC, REST, and what guards REST."""
