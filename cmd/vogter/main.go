// Command vogter is the whole platform: the API, the worker, the tools of
// operators and customers, and everything at once on one machine.
package main

import "github.com/vogter/vogter/internal/cli"

func main() { cli.Main(nil) }
