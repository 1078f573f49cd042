//! Targets, their ids, patterns over them, and the DAG they form.
