package authz

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

	ClientRead        Permission = "CLIENT_READ" // API keys and OAuth clients, without their secrets
	OAuthClientManage Permission = "OAUTH_CLIENT_MANAGE"
	DocumentRegister  Permission = "DOCUMENT_REGISTER"
	DecisionExplain   Permission = "DECISION_EXPLAIN"
	PolicyRead        Permission = "POLICY_READ"
	PolicyPropose     Permission = "POLICY_PROPOSE"
	PolicyApprove     Permission = "POLICY_APPROVE"

	SecurityEventRead    Permission = "SECURITY_EVENT_READ"
	SecurityEventRecord  Permission = "SECURITY_EVENT_RECORD"
	SecurityEventDispose Permission = "SECURITY_EVENT_DISPOSE"

	WebhookRead   Permission = "WEBHOOK_READ"
	WebhookManage Permission = "WEBHOOK_MANAGE"
	ChangeRead    Permission = "CHANGE_READ"

	AuditRead   Permission = "AUDIT_READ"
	AuditExport Permission = "AUDIT_EXPORT"
	VaultRead   Permission = "VAULT_READ"   // operators only
	VaultManage Permission = "VAULT_MANAGE" // operators only

	PurposeRead       Permission = "PURPOSE_READ"
	PurposeWrite      Permission = "PURPOSE_WRITE"
	ConsentRead       Permission = "CONSENT_READ"
	ConsentReport     Permission = "CONSENT_REPORT"
	ConsentWrite      Permission = "CONSENT_WRITE"
	ConsentInvalidate Permission = "CONSENT_INVALIDATE"
	SelfWrite         Permission = "SELF_WRITE"
	ProcessingRead    Permission = "PROCESSING_READ"
	ProcessingWrite   Permission = "PROCESSING_WRITE"
	ProcessingPublish Permission = "PROCESSING_PUBLISH"
	AssessmentAdvise  Permission = "ASSESSMENT_ADVISE"
	AssessmentApprove Permission = "ASSESSMENT_APPROVE"
	DisclosureRead    Permission = "DISCLOSURE_READ"
	DisclosureRecord  Permission = "DISCLOSURE_RECORD"
	RetentionRead     Permission = "RETENTION_READ"
	RetentionWrite    Permission = "RETENTION_WRITE"
	HoldPlace         Permission = "HOLD_PLACE"
	HoldRelease       Permission = "HOLD_RELEASE"
	RequestRead       Permission = "REQUEST_READ"
	RequestReport     Permission = "REQUEST_REPORT"
	RequestOpen       Permission = "REQUEST_OPEN"
	RequestHandle     Permission = "REQUEST_HANDLE"
	RequestApprove    Permission = "REQUEST_APPROVE"
	RequestComment    Permission = "REQUEST_COMMENT"
	LetterRead        Permission = "LETTER_READ"
	LetterWrite       Permission = "LETTER_WRITE"

	AgreementRead    Permission = "AGREEMENT_READ"
	AgreementWrite   Permission = "AGREEMENT_WRITE"
	AgreementSign    Permission = "AGREEMENT_SIGN"
	AgreementProvide Permission = "AGREEMENT_PROVIDE"
	BreachRead       Permission = "BREACH_READ"
	BreachHandle     Permission = "BREACH_HANDLE"
	BreachApprove    Permission = "BREACH_APPROVE"
	BreachReport     Permission = "BREACH_REPORT"
	EvidenceRead     Permission = "EVIDENCE_READ"
	EvidenceWrite    Permission = "EVIDENCE_WRITE"
	EvidenceReview   Permission = "EVIDENCE_REVIEW"
	EvidenceTest     Permission = "EVIDENCE_TEST"
	AssuranceRead    Permission = "ASSURANCE_READ"
	DossierExport    Permission = "DOSSIER_EXPORT"
	BackupRead       Permission = "BACKUP_READ"
	BackupManage     Permission = "BACKUP_MANAGE"
	TenantClose      Permission = "TENANT_CLOSE"
)

// All returns every permission, in the order of the schema.
func All() []Permission {
	return []Permission{
		NodeRead, TenantRead, TenantUpdate, TenantCreate, APIKeyManage, DatasetRead, DatasetWrite, SubjectRead,
		SubjectWrite, RecordRead, RecordWrite, RecordDelete, FileWrite, FileRead, ImportRun, ExportRequest, JobRead,
		SelfRead, MemberRead, MemberManage, SessionManage, TenantEnter, ClientRead, OAuthClientManage, DocumentRegister,
		DecisionExplain, PolicyRead, PolicyPropose, PolicyApprove, SecurityEventRead, SecurityEventRecord,
		SecurityEventDispose, WebhookRead, WebhookManage, ChangeRead, AuditRead, AuditExport, VaultRead, VaultManage,
		PurposeRead, PurposeWrite, ConsentRead, ConsentReport, ConsentWrite, ConsentInvalidate, SelfWrite,
		ProcessingRead, ProcessingWrite, ProcessingPublish, AssessmentAdvise, AssessmentApprove, DisclosureRead,
		DisclosureRecord, RetentionRead, RetentionWrite, HoldPlace, HoldRelease, RequestRead, RequestReport,
		RequestOpen, RequestHandle, RequestApprove, RequestComment, LetterRead, LetterWrite,
		AgreementRead, AgreementWrite, AgreementSign, AgreementProvide, BreachRead, BreachHandle,
		BreachApprove, BreachReport, EvidenceRead, EvidenceWrite, EvidenceReview, EvidenceTest,
		AssuranceRead, DossierExport, BackupRead, BackupManage, TenantClose,
	}
}
