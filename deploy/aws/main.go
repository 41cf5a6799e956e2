// Command vogter-aws is vogter with AWS KMS as a place of the master keys:
// VOGTER_KMS=aws:REGION[/NAMESPACE].
package main

import (
	"github.com/vogter/vogter/internal/cli"
	"github.com/vogter/vogter/internal/kms"

	"github.com/vogter/vogter/deploy/aws/awskms"
)

func main() { cli.Main(kms.Adapters{"aws": awskms.Open}) }
