package tenancy_test

import (
	"fmt"
	"testing"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)
