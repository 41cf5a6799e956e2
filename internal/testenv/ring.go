package testenv

import (
	"context"
	"testing"

	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/mongo"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/tenant"
)

// Provider is the tenant that runs the platform.
const Provider tenant.ID = "ten_pppppppppppppppp"

type provider struct{}

func (provider) ProviderID(context.Context) (tenant.ID, error) { return Provider, nil }

// Ring returns a ring of signing keys in db.
func Ring(tb testing.TB, db *mongo.DB, v sign.Vault, changes *change.Runner) *sign.Ring {
	tb.Helper()
	return sign.NewRing(sign.Config{Store: mongo.NewSignStore(db), Vault: v, Provider: provider{}, Changes: changes, Now: Now})
}

// NewRing returns a ring of signing keys on parts of its own.
func NewRing(tb testing.TB) *sign.Ring {
	tb.Helper()
	db, v := Mongo(tb), Vault(tb)
	changes, _ := Changes(tb, db, v, nil, nil)
	return Ring(tb, db, v, changes)
}
