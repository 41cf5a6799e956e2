// Package legislators holds the public data of real persons that the demo and
// the tests import; SOURCE.md says where it is from.
package legislators

import _ "embed"

//go:embed legislators.ndjson
var lines []byte

//go:embed mapping.json
var mapping string

//go:embed datasets.json
var datasets []byte

// MappingName is the name under which the demo saves Mapping.
const MappingName = "legislators"

// Count is the number of persons in Lines.
const Count = 537

// Lines returns the persons as NDJSON. It must not be changed.
func Lines() []byte { return lines }

// Mapping returns the import mapping for Lines.
func Mapping() string { return mapping }

// Datasets returns the inputs of createDataset that Mapping needs, as a JSON list.
// It must not be changed.
func Datasets() []byte { return datasets }
