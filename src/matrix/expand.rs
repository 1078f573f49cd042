pub fn expand() {}
