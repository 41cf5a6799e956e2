// Command hydra is Ory Hydra, built from its module with SQLite for one
// machine: `go build -tags sqlite,json1,sqlite_omit_load_extension`. It is a
// module of its own because its replace directive differs from everybody else's.
package main

import "github.com/ory/hydra/v2/cmd"

func main() { cmd.Execute() }
