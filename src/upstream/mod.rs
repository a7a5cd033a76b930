//! The guarded MCP servers and the live links to them.
