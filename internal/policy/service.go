package policy

import (
	"context"
	"time"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
)

// Recorder records refusals.
type Recorder interface {
	Permit(ctx context.Context, a authz.Authorizer, do authz.Permission, action, object string) (context.Context, error)
}

// Config is what a Service needs. All of it is required.
type Config struct {
	Engine   Engine
	Subjects Objects
	Records  Objects
	Files    Objects
	Datasets Datasets
	Members  Members
	Recorder Recorder
	Store    Store
	Loader   *Loader
	Changes  *change.Runner
	Now      func() time.Time
}

// Service tells of decisions and keeps the policies of tenants.
type Service struct{ Config }

// NewService returns a Service.
func NewService(c Config) *Service { return &Service{c} }
