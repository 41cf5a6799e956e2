// Package conformance holds the tests that tell what MongoDB's manual promises
// and see that the embedded document engine keeps it: cases by subject, a sweep
// over every name in the manual, generated programs compared with a model, and
// concurrent clients. The cases also run against any other server: see README.md.
package conformance
