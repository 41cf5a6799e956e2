package pack

import (
	"fmt"
	"io"

	"github.com/vogter/vogter/internal/audit/proof"
	"github.com/vogter/vogter/internal/tenant"
)

// AuditBundleType is the type of an AuditBundle.
const AuditBundleType Type = "AUDIT_BUNDLE"

// AuditPath is the member that has the entries and checkpoints, in the form of
// proof.CheckBundle.
const AuditPath = "audit.log"

// AuditBundle is the manifest of a part of a tenant's audit log, with all that
// proves it.
type AuditBundle struct {
	Header

	Tenant    string             `json:"tenant"`
	ExportID  string             `json:"exportId"`
	CreatedAt string             `json:"createdAt"` // RFC 3339
	From      string             `json:"from"`      // asked for; RFC 3339
	To        string             `json:"to"`
	Log       proof.BundleTotals `json:"log"`
}

// auditLog checks the entries of an audit bundle.
func auditLog(manifest []byte, path string, content io.Reader, r *Result) error {
	var m AuditBundle
	if strict(manifest, &m) != nil {
		return problem(ManifestPath, "malformed")
	}
	if path != AuditPath {
		return problem(path, "an audit bundle has no such file")
	}
	have, err := proof.CheckBundle(content, r.Keys, tenant.ID(m.Tenant), r.visit)
	if err != nil {
		return err
	}
	if have != m.Log {
		return problem(ManifestPath, "the totals are not those of the entries")
	}
	return nil
}

func checkAuditBundle(manifest []byte, _ *Result) ([]string, error) {
	var m AuditBundle
	if strict(manifest, &m) != nil || len(m.Files) != 1 {
		return nil, problem(ManifestPath, "malformed")
	}
	return []string{
		fmt.Sprintf("audit log of %s from %s to %s: %d entries, vouched for by %d checkpoints", m.Tenant, m.From, m.To, m.Log.Entries, m.Log.Checkpoints),
	}, nil
}
