package paper

// Clean is clean.
func Clean(s string) string { return clean(s) }
