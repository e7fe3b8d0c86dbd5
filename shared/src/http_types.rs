//! http_types
