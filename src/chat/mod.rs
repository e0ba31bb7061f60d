//! Dialog to ids; a caller's text can never yield a control id.
