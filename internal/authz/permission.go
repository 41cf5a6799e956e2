package authz

import "slices"

// Permission names one thing that a caller may do.
type Permission string

// The permissions. The schema's enum Permission has the same values; a test
// compares them.
const (
	NodeRead      Permission = "NODE_READ" // fetch by id; the type's own permission is asked too
	TenantRead    Permission = "TENANT_READ"
	TenantUpdate  Permission = "TENANT_UPDATE"
	TenantCreate  Permission = "TENANT_CREATE"  // operators only
	APIKeyManage  Permission = "API_KEY_MANAGE" //nolint:gosec // G101: the name of a permission
	DatasetRead   Permission = "DATASET_READ"
	DatasetWrite  Permission = "DATASET_WRITE"
	SubjectRead   Permission = "SUBJECT_READ"
	SubjectWrite  Permission = "SUBJECT_WRITE"
	RecordRead    Permission = "RECORD_READ"
	RecordWrite   Permission = "RECORD_WRITE"
	RecordDelete  Permission = "RECORD_DELETE"
	FileWrite     Permission = "FILE_WRITE"
	FileRead      Permission = "FILE_READ"
	ImportRun     Permission = "IMPORT_RUN"
	ExportRequest Permission = "EXPORT_REQUEST"
	JobRead       Permission = "JOB_READ"
	SelfRead      Permission = "SELF_READ" // of data subjects: what is kept on themselves
	MemberRead    Permission = "MEMBER_READ"
	MemberManage  Permission = "MEMBER_MANAGE"
	SessionManage Permission = "SESSION_MANAGE" // the caller's own sessions
	TenantEnter   Permission = "TENANT_ENTER"   // break-glass; operators only

	OAuthClientManage Permission = "OAUTH_CLIENT_MANAGE"
	DocumentRegister  Permission = "DOCUMENT_REGISTER"
	DecisionExplain   Permission = "DECISION_EXPLAIN"
	PolicyRead        Permission = "POLICY_READ"
	PolicyPropose     Permission = "POLICY_PROPOSE"
	PolicyApprove     Permission = "POLICY_APPROVE"

	SecurityEventRead    Permission = "SECURITY_EVENT_READ"
	SecurityEventRecord  Permission = "SECURITY_EVENT_RECORD"
	SecurityEventDispose Permission = "SECURITY_EVENT_DISPOSE"

	WebhookManage Permission = "WEBHOOK_MANAGE"
	ChangeRead    Permission = "CHANGE_READ"

	AuditRead   Permission = "AUDIT_READ"
	AuditExport Permission = "AUDIT_EXPORT"
	VaultRead   Permission = "VAULT_READ"   // operators only
	VaultManage Permission = "VAULT_MANAGE" // operators only
)

// All returns every permission, in the order of the schema.
func All() []Permission {
	return []Permission{
		NodeRead, TenantRead, TenantUpdate, TenantCreate, APIKeyManage, DatasetRead, DatasetWrite, SubjectRead,
		SubjectWrite, RecordRead, RecordWrite, RecordDelete, FileWrite, FileRead, ImportRun, ExportRequest, JobRead,
		SelfRead, MemberRead, MemberManage, SessionManage, TenantEnter, OAuthClientManage, DocumentRegister,
		DecisionExplain, PolicyRead, PolicyPropose, PolicyApprove, SecurityEventRead, SecurityEventRecord,
		SecurityEventDispose, WebhookManage, ChangeRead, AuditRead, AuditExport, VaultRead, VaultManage,
	}
}

// ForKeys returns the permissions that a machine client may hold: all but those
// that reach beyond the tenant, make more clients, or are for people to decide.
func ForKeys() []Permission {
	return slices.DeleteFunc(All(), func(p Permission) bool {
		return slices.Contains(platform(), p) || slices.Contains([]Permission{
			APIKeyManage, OAuthClientManage, MemberManage, SelfRead, SessionManage, PolicyPropose, PolicyApprove,
			SecurityEventDispose,
		}, p)
	})
}

// platform returns what only operators may do.
func platform() []Permission {
	return []Permission{TenantCreate, TenantEnter, VaultRead, VaultManage}
}

// PermissionsOf returns what a role may do.
func PermissionsOf(r Role) []Permission {
	overview := []Permission{
		NodeRead, TenantRead, DatasetRead, JobRead, SessionManage, MemberRead, DecisionExplain, PolicyRead,
		SecurityEventRead, AuditRead,
	}
	work := []Permission{
		NodeRead, TenantRead, DatasetRead, SubjectRead, SubjectWrite, RecordRead, RecordWrite, FileWrite, FileRead,
		ImportRun, ExportRequest, JobRead, SessionManage, SecurityEventRecord, ChangeRead,
	}
	switch r {
	case RoleOwner:
		return slices.DeleteFunc(All(), func(p Permission) bool { return p == SelfRead || slices.Contains(platform(), p) })
	case RoleCaseHandler:
		return work
	case RoleApprover:
		return append(work, MemberRead, DecisionExplain, PolicyRead, PolicyApprove, SecurityEventRead, SecurityEventDispose, AuditRead)
	case RoleDPO:
		return append(overview, SubjectRead, RecordRead, AuditExport, SecurityEventRecord)
	case RoleAuditor:
		return overview
	case RoleDeveloper:
		return []Permission{
			NodeRead, TenantRead, DatasetRead, DatasetWrite, JobRead, SessionManage, DocumentRegister, DecisionExplain,
			PolicyRead, WebhookManage, ChangeRead,
		}
	case RoleOperator:
		// An operator runs the platform and, in the provider's own tenant, is no
		// reader of personal data: break-glass access is a capability of its own.
		return append(overview, TenantUpdate, TenantCreate, APIKeyManage, TenantEnter, MemberManage, SecurityEventRecord,
			SecurityEventDispose, WebhookManage, AuditExport, VaultRead, VaultManage)
	default:
		return nil
	}
}
