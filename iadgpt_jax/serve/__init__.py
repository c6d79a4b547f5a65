"""The HTTP server and the browser app: products, inspections in batches across requests, chats."""
