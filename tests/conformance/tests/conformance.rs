//! The built broker from outside.
