package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// The collections. Every one but leases and those of the key store holds
// {tenant, _id} in each document, which is its shard key.
const (
	tenantsColl  = "tenants"
	membersColl  = "members"
	apiKeysColl  = "apiKeys"
	namesColl    = "names"
	datasetsColl = "datasets"
	subjectsColl = "subjects"
	recordsColl  = "records"
	lookupsColl  = "lookups"
	auditColl    = "audit"
	jobsColl     = "jobs"
	receiptsColl = "receipts"
	filesColl    = "files"
	exportsColl  = "exports"
	grantsColl   = "grants"

	breakGlassColl = "breakGlass"
	policiesColl   = "policies"
	leasesColl     = "leases" // of the platform, and small: without a tenant, not sharded

	oauthClientsColl = "oauthClients"
	documentsColl    = "documents" // registered GraphQL documents

	importsColl    = "imports"
	mappingsColl   = "importMappings"
	rejectionsColl = "importRejections"

	signingKeysColl  = "signingKeys" // of the provider
	headsColl        = "auditHeads"  // where each tenant's log stands
	tilesColl        = "auditTiles"  // the hashes of its tree
	checkpointsColl  = "auditCheckpoints"
	auditExportsColl = "auditExports"
	headsAtColl      = "auditHeadsAt" // where a tenant's log stood at a checkpoint

	verificationsColl = "auditVerifications" // what the checks of a tenant's log came to

	epochClosesColl = "epochCloses" // of the provider
	shreddingsColl  = "shreddings"
	lookupKeysColl  = "lookupKeys"   // with which index keys a tenant's lookups are made
	rotationsColl   = "keyRotations" // of the provider
	quarantinesColl = "keyQuarantines"
	ledgerColl      = "ledger" // of the platform: the database's id and its place in the ledger

	requestsColl      = "requests"
	requestEventsColl = "requestEvents"
	sentLettersColl   = "sentLetters" // of requests
	countersColl      = "counters"    // of what is numbered by year

	challengesColl   = "challenges"   // one-time codes of data subjects
	selfSessionsColl = "selfSessions" // of data subjects

	securityEventsColl   = "securityEvents"
	securityNotesColl    = "securityNotes"
	securityGroupsColl   = "securityGroups"
	securitySignalsColl  = "securitySignals"
	securityNetworksColl = "securityNetworks" // from where privileged members call
	securityCursorsColl  = "securityCursors"  // up to where the detectors have read each tenant's log
	detectorsColl        = "detectors"

	retentionRulesColl    = "retentionRules"
	retentionDatesColl    = "retentionDates" // what retention reads of the sealed data: dates under opaque ids
	retentionRunsColl     = "retentionRuns"
	retentionSettingsColl = "retentionSettings"
	holdsColl             = "holds"
	holidaysColl          = "holidays" // what tenants change in the calendars
	openDSRColl           = "openDSR"  // requests by the ids of the systems that sent them

	messagesColl   = "messages"
	webhooksColl   = "webhooks"
	deliveriesColl = "deliveries"

	partiesColl    = "parties" // that take part in processing
	systemsColl    = "systems"
	activitiesColl = "activities"
	revisionsColl  = "activityRevisions"
	registersColl  = "registers"

	purposesColl = "purposes"
	noticesColl  = "notices"

	consentsColl      = "consents"
	consentEventsColl = "consentEvents"
	standingsColl     = "consentStandings" // where each person stands on each purpose
	consentCountsColl = "consentCounts"    // how many do
	erasureChecksColl = "erasureChecks"    // when a consent has ended
	invalidationsColl = "consentInvalidations"

	lettersColl = "letterTemplates"

	measuresColl           = "securityMeasures"
	assessmentsColl        = "assessments"
	assessmentVersionsColl = "assessmentVersions" // those that were decided
	disclosuresColl        = "disclosures"
	certificatesColl       = "erasureCertificates"

	agreementsColl         = "agreements"
	agreementVersionsColl  = "agreementVersions"
	agreementEventsColl    = "agreementEvents"
	agreementStandingsColl = "agreementStandings" // one of each tenant, by id
	agreementTextsColl     = "agreementTexts"     // official ones, of the provider
	instructionsColl       = "instructions"
)

// index is the keys of one index, ascending unless the name begins with "-".
type index []string

func (x index) model() mongo.IndexModel {
	keys := bson.D{}
	for _, k := range x {
		if k[0] == '-' {
			keys = append(keys, bson.E{Key: k[1:], Value: -1})
		} else {
			keys = append(keys, bson.E{Key: k, Value: 1})
		}
	}
	return mongo.IndexModel{Keys: keys}
}

// indexes has the index of every query beside those by _id.
func indexes() map[string][]index {
	return map[string][]index{
		tenantsColl:      {{"allowedOrigins"}},
		membersColl:      {{"tenant", "-createdAt", "-_id"}, {"tenant", "role", "state"}, {"identity"}},
		apiKeysColl:      {{"tenant", "-createdAt", "-_id"}},
		documentsColl:    {{"tenant", "-createdAt", "-_id"}},
		oauthClientsColl: {{"tenant", "-createdAt", "-_id"}},
		policiesColl:     {{"tenant", "-createdAt", "-_id"}, {"tenant", "state"}, {"tenant", "name", "-version"}},
		datasetsColl:     {{"tenant", "name"}, {"tenant", "secrecy"}},
		subjectsColl:     {{"tenant", "-createdAt", "-_id"}},
		recordsColl: {
			{"tenant", "subjects", "-createdAt", "-_id"},
			{"tenant", "subjects", "dataset", "-createdAt", "-_id"},
			{"tenant", "dataset", "-createdAt", "-_id"},
		},
		lookupsColl: {{"tenant", "owner"}, {"tenant", "subject"}, {"tenant", "epoch", "_id"}},
		auditColl: {
			{"tenant", "seq"},
			{"tenant", "change", "seq"},
			{"tenant", "contents.k"},
			{"unsealed", "tenant", "at", "_id"},
			{"tenant", "-at", "-_id"},
			{"tenant", "subjects.id", "-at", "-_id"},
			{"tenant", "actor.id", "-at", "-_id"},
			{"tenant", "object", "-at", "-_id"},
			{"tenant", "action", "-at", "-_id"},
			{"tenant", "outcome", "-at", "-_id"},
		},
		jobsColl:        {{"state", "enqueuedAt", "runAfter"}, {"state", "leaseUntil"}, {"tenant", "-createdAt", "-_id"}},
		receiptsColl:    {{"createdAt"}},
		filesColl:       {{"state", "createdAt"}, {"tenant", "subject", "dataset"}, {"tenant", "request"}},
		epochClosesColl: {{"tenant", "-createdAt", "-_id"}},
		quarantinesColl: {{"tenant", "-createdAt", "-_id"}},
		rotationsColl:   {{"tenant", "-createdAt", "-_id"}, {"tenant", "state", "nextAt"}},
		shreddingsColl:  {{"-createdAt", "-_id"}, {"tenant", "subject"}},
		exportsColl:     {{"state", "expiresAt"}, {"tenant", "subject"}},
		grantsColl:      {{"expiresAt"}},

		breakGlassColl: {{"tenant", "-createdAt", "-_id"}, {"tenant", "operator", "-expiresAt"}},
		mappingsColl:   {{"tenant", "name"}},

		signingKeysColl:  {{"tenant", "purpose", "number"}},
		checkpointsColl:  {{"tenant", "number"}},
		auditExportsColl: {{"state", "expiresAt"}},
		headsAtColl:      {{"tenant", "number", "log"}, {"tenant", "at", "log"}, {"tenant", "log", "size"}},
		securityEventsColl: {
			{"tenant", "-createdAt", "-_id"},
			{"tenant", "disposition", "-createdAt", "-_id"},
			{"tenant", "severity", "-createdAt", "-_id"},
			{"tenant", "category", "-createdAt", "-_id"},
			{"tenant", "source", "-createdAt", "-_id"},
		},
		securityNotesColl:    {{"tenant", "event", "createdAt", "_id"}},
		securitySignalsColl:  {{"waiting", "tenant", "at"}, {"waiting", "at"}, {"tenant", "at"}},
		securityNetworksColl: {{"tenant", "member"}, {"lastAt"}},
		detectorsColl:        {{"tenant", "detector"}},
		retentionRulesColl:   {{"tenant", "-createdAt", "-_id"}, {"tenant", "state"}},
		retentionDatesColl: {
			{"tenant", "subject", "unit"},
			{"tenant", "unit", "_id"},
			{"tenant", "due", "_id"},
			{"outdated", "_id"},
		},
		retentionRunsColl: {{"tenant", "-createdAt", "-_id"}, {"tenant", "state"}},
		holidaysColl:      {{"tenant", "calendar", "-number"}},
		holdsColl: {
			{"tenant", "-createdAt", "-_id"},
			{"tenant", "state", "-createdAt", "-_id"},
			{"tenant", "state", "persons"},
		},
		messagesColl:     {{"state", "createdAt"}},
		challengesColl:   {{"tenant", "subject", "createdAt"}, {"expiresAt"}},
		selfSessionsColl: {{"tenant", "subject", "createdAt"}, {"createdAt"}},
		purposesColl:     {{"tenant", "-createdAt", "-_id"}, {"tenant", "key", "-version"}, {"tenant", "version"}, {"tenant", "state", "key"}},
		lettersColl:      {{"tenant", "-createdAt", "-_id"}, {"tenant", "letter", "language", "-version"}, {"tenant", "state", "letter", "language"}},
		consentsColl: {
			{"tenant", "-createdAt", "-_id"},
			{"tenant", "subject", "-createdAt", "-_id"},
			{"tenant", "purpose", "-createdAt", "-_id"},
			{"tenant", "purpose", "state", "-createdAt", "-_id"},
			{"tenant", "slot"},
		},
		consentEventsColl: {
			{"tenant", "subject", "-createdAt", "-_id"},
			{"tenant", "subject", "purpose", "-createdAt", "-_id"},
			{"tenant", "consent", "-createdAt", "-_id"},
		},
		standingsColl: {
			{"tenant", "subject", "purpose"},
			{"tenant", "purpose", "inForce", "since", "_id"},
			{"tenant", "notice", "inForce", "since", "_id"},
			{"expiresAt"},
			{"askDue"},
		},
		consentCountsColl: {{"tenant", "purpose", "month"}},
		erasureChecksColl: {{"tenant", "state", "-createdAt", "-_id"}, {"tenant", "batch", "state"}, {"tenant", "subject"}},
		noticesColl: {
			{"tenant", "-createdAt", "-_id"},
			{"tenant", "key", "-version"},
			{"tenant", "version"},
			{"tenant", "purposes.key", "-createdAt", "-_id"},
			{"tenant", "purposes.key", "state", "-createdAt", "-_id"},
		},
		partiesColl: {{"tenant", "-createdAt", "-_id"}},
		agreementsColl: {
			{"tenant", "-createdAt", "-_id"}, {"-createdAt", "-_id"}, {"tenant", "state"}, {"dueAt"},
		},
		agreementVersionsColl: {{"tenant", "agreement", "-number"}},
		agreementEventsColl:   {{"tenant", "agreement", "at"}},
		agreementTextsColl:    {{"tenant", "template", "language", "-version"}},
		instructionsColl:      {{"tenant", "-createdAt", "-_id"}},
		systemsColl:           {{"tenant", "-createdAt", "-_id"}},
		activitiesColl: {
			{"tenant", "-createdAt", "-_id"},
			{"tenant", "state", "-createdAt", "-_id"},
			{"tenant", "hat", "-createdAt", "-_id"},
		},
		revisionsColl: {{"tenant", "activity", "-createdAt", "-_id"}},
		registersColl: {{"tenant", "-createdAt", "-_id"}, {"tenant", "state", "-publishedAt", "-_id"}},
		webhooksColl:  {{"state"}, {"tenant", "-createdAt", "-_id"}},
		measuresColl:  {{"tenant", "-createdAt", "-_id"}, {"tenant", "status", "-createdAt", "-_id"}},
		assessmentsColl: {
			{"tenant", "-createdAt", "-_id"},
			{"tenant", "kind", "-createdAt", "-_id"},
			{"tenant", "state", "-createdAt", "-_id"},
			{"tenant", "kind", "state", "-createdAt", "-_id"},
			{"tenant", "activities", "-createdAt", "-_id"},
			{"state", "reviewOn"},
		},
		assessmentVersionsColl: {{"tenant", "assessment", "-number"}},
		certificatesColl:       {{"tenant", "number"}, {"tenant", "second"}, {"tenant", "cause"}, {"state", "_id"}, {"state", "issuedAt"}},
		disclosuresColl: {
			{"tenant", "subject", "-createdAt", "-_id"},
			{"tenant", "subject", "secrecy", "-createdAt", "-_id"},
			{"tenant", "subject", "secrecy", "recipient", "-at"},
			{"tenant", "batch"},
		},
		requestsColl: {
			{"endsAt"},
			{"tenant", "-createdAt", "-_id"},
			{"tenant", "subject", "-createdAt", "-_id"},
			{"tenant", "assignedTo", "-createdAt", "-_id"},
			{"tenant", "state", "-createdAt", "-_id"},
			{"tenant", "types", "-createdAt", "-_id"},
			{"tenant", "open", "due", "_id"},
			{"tenant", "receivedAt"},
			{"look"},
		},
		requestEventsColl: {{"tenant", "request", "-createdAt", "-_id"}},
		openDSRColl:       {{"tenant", "request"}},
		sentLettersColl:   {{"tenant", "request", "createdAt", "_id"}},
		taskTemplatesColl: {{"tenant", "-createdAt", "-_id"}, {"tenant", "state", "right"}},
		tasksColl: {
			{"tenant", "request", "-createdAt", "-_id"},
			{"tenant", "request", "state", "stage"},
			{"tenant", "assignedTo", "state", "-createdAt", "-_id"},
			{"tenant", "notice", "state"},
		},
		noticesToldColl: {
			{"tenant", "request", "-createdAt", "-_id"},
			{"tenant", "request", "state"},
			{"tenant", "subject", "-createdAt", "-_id"},
			{"tenant", "item"},
		},
		deliveriesColl: {
			{"state", "createdAt"},
			{"tenant", "webhook", "-createdAt", "-_id"},
			{"tenant", "webhook", "state", "-createdAt", "-_id"},
		},
	}
}

// EnsureIndexes makes the indexes that aren't there yet.
func (d *DB) EnsureIndexes(ctx context.Context) error {
	for coll, list := range indexes() {
		models := make([]mongo.IndexModel, len(list))
		for i, x := range list {
			models[i] = x.model()
		}
		if _, err := d.db.Collection(coll).Indexes().CreateMany(ctx, models); err != nil {
			return fmt.Errorf("create indexes of %s: %w", coll, translate(err))
		}
	}
	return nil
}
