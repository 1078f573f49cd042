//! Raw traces to metrics, rows, collections and tables.
