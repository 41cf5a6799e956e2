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
)

// All returns every permission, in the order of the schema.
func All() []Permission {
	return []Permission{
		NodeRead, TenantRead, TenantUpdate, TenantCreate, APIKeyManage, DatasetRead, DatasetWrite, SubjectRead,
		SubjectWrite, RecordRead, RecordWrite, RecordDelete, FileWrite, FileRead, ImportRun, ExportRequest, JobRead,
	}
}

// ForKeys returns the permissions that an API key may hold: all but those that
// reach beyond the tenant or make more keys.
func ForKeys() []Permission {
	return slices.DeleteFunc(All(), func(p Permission) bool { return p == TenantCreate || p == APIKeyManage })
}

// PermissionsOf returns what a role may do.
func PermissionsOf(r Role) []Permission {
	switch r {
	case RoleOwner:
		return slices.DeleteFunc(All(), func(p Permission) bool { return p == TenantCreate })
	case RoleCaseHandler:
		return []Permission{
			NodeRead, TenantRead, DatasetRead, SubjectRead, SubjectWrite, RecordRead, RecordWrite,
			FileWrite, FileRead, ImportRun, ExportRequest, JobRead,
		}
	case RoleDPO:
		return []Permission{NodeRead, TenantRead, DatasetRead, SubjectRead, RecordRead, JobRead}
	case RoleAuditor:
		return []Permission{NodeRead, TenantRead, DatasetRead, JobRead}
	case RoleOperator:
		// An operator runs the platform and, in the provider's own tenant, is no
		// reader of personal data: break-glass access is a capability of its own.
		return []Permission{NodeRead, TenantRead, TenantUpdate, TenantCreate, APIKeyManage, DatasetRead, JobRead}
	default:
		return nil
	}
}
