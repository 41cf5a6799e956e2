// Package awskms keeps master keys in AWS KMS.
//
// A master key is a symmetric customer-managed key of one region. It is found by
// its alias, alias/[NAMESPACE/]NAME, when it is made; its reference is its ARN,
// which AWS never gives to another key and an alias can't divert. What is bound
// to a wrapped secret is the SHA-256 of the associated data, in the encryption
// context: the context stands in CloudTrail's log in the clear.
//
// A destroyed key waits for deletion for the seven days that AWS insists on, and
// is unusable meanwhile. AWS then forgets the alias together with the key: Create
// would make another key of that name, under another reference.
//
// Changes take AWS a moment to reach all of its servers: a key that isn't there is
// asked for again, and one that was just disabled or destroyed may still answer
// for some seconds.
package awskms

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/kms"
)

const (
	callTimeout = 10 * time.Second // of one attempt
	attempts    = 4
	maxPause    = time.Second // between attempts
	waitingDays = 7           // the least that ScheduleKeyDeletion takes
	maxWrapped  = 6144        // bytes, the most that Decrypt takes

	tagKey     = "vogter"     // of a key; the value is the alias without its prefix
	contextKey = "vogter-aad" // of the encryption context
)

var (
	// ErrEndpoint reports an endpoint, from the SDK's own settings, that isn't HTTPS.
	ErrEndpoint = errs.New(errs.Invalid, "the endpoint of AWS KMS must be an https URL")
	// ErrEmpty reports an empty plaintext, which AWS doesn't encrypt.
	ErrEmpty = errs.New(errs.Internal, "there is nothing to wrap")

	errForgotten = errors.New("AWS KMS knows no such key")
)

// Service is AWS KMS in one region and, of the keys there, one namespace. It may
// be used concurrently.
type Service struct {
	client    *awskms.Client
	region    string
	namespace string // with the slash; or empty
}

var _ kms.Wrapper = (*Service)(nil)

// Open returns the service at address, REGION[/NAMESPACE]. Credentials, and an
// endpoint other than the region's, come from where every program of AWS' SDK
// takes them: environment, shared configuration, the role of the machine.
func Open(ctx context.Context, address string) (kms.Wrapper, error) {
	region, namespace, ok := strings.Cut(address, "/")
	if ok {
		namespace += "/"
	}
	c, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(region),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(callTimeout)),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, maxPause })
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("open AWS KMS: %w", err)
	}
	client := awskms.NewFromConfig(c)
	if e := client.Options().BaseEndpoint; e != nil {
		if u, err := url.Parse(*e); err != nil || u.Scheme != "https" {
			return nil, fmt.Errorf("open AWS KMS: %w", ErrEndpoint)
		}
	}
	return &Service{client: client, region: region, namespace: namespace}, nil
}

// Create makes the key of that alias unless there is one. A key of that alias
// that Destroy couldn't end, or that AWS doesn't hold alone, is refused.
func (s *Service) Create(ctx context.Context, name string) (string, error) {
	if err := kms.CheckName(name); err != nil {
		return "", fmt.Errorf("create master key: %w", err)
	}
	ref, err := s.create(ctx, s.namespace+name)
	if err != nil {
		return "", fmt.Errorf("create master key %s: %w", name, err)
	}
	return ref, nil
}

func (s *Service) create(ctx context.Context, name string) (string, error) {
	alias := aws.String("alias/" + name)
	ref, err := s.find(ctx, alias)
	if !errors.Is(err, errForgotten) {
		return ref, err
	}
	made, err := s.client.CreateKey(ctx, &awskms.CreateKeyInput{
		Description: aws.String("Vogter master key " + name),
		Tags:        []types.Tag{{TagKey: aws.String(tagKey), TagValue: aws.String(name)}},
	})
	if err != nil {
		return "", explain(err)
	}
	_, err = s.client.CreateAlias(ctx, &awskms.CreateAliasInput{AliasName: alias, TargetKeyId: made.KeyMetadata.KeyId}, s.patient)
	if err == nil {
		return *made.KeyMetadata.Arn, nil
	}
	// Nothing was wrapped under the key, for nobody knows its reference.
	_, lost := s.client.ScheduleKeyDeletion(context.WithoutCancel(ctx), &awskms.ScheduleKeyDeletionInput{
		KeyId: made.KeyMetadata.KeyId, PendingWindowInDays: aws.Int32(waitingDays),
	}, s.patient)
	if _, ok := errors.AsType[*types.AlreadyExistsException](err); ok { // another process was faster
		if ref, err = s.find(ctx, alias, s.patient); err == nil || errors.Is(err, kms.ErrDestroyed) {
			return ref, err
		}
	}
	if lost != nil {
		lost = fmt.Errorf("schedule deletion of the spare key %s: %w", *made.KeyMetadata.KeyId, explain(lost))
	}
	return "", errors.Join(explain(err), lost)
}

// find returns the reference of the key behind the alias; errForgotten if there is none.
func (s *Service) find(ctx context.Context, alias *string, options ...func(*awskms.Options)) (string, error) {
	out, err := s.client.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: alias}, options...)
	if err != nil {
		return "", explain(err)
	}
	switch k := out.KeyMetadata; {
	case k.KeyManager != types.KeyManagerTypeCustomer, k.KeySpec != types.KeySpecSymmetricDefault,
		k.KeyUsage != types.KeyUsageTypeEncryptDecrypt, k.Origin != types.OriginTypeAwsKms, aws.ToBool(k.MultiRegion):
		return "", errs.New(errs.Internal, "there is one of another kind")
	case k.KeyState == types.KeyStatePendingDeletion:
		return "", kms.ErrDestroyed
	default:
		return *k.Arn, nil
	}
}

// Wrap encrypts plaintext, which must not be empty, under the key.
func (s *Service) Wrap(ctx context.Context, keyRef string, plaintext, aad []byte) ([]byte, error) {
	switch {
	case len(plaintext) > kms.MaxSize:
		return nil, kms.ErrSize
	case len(plaintext) == 0:
		return nil, ErrEmpty
	}
	var wrapped []byte
	err := s.use(ctx, keyRef, func(id *string) error {
		out, err := s.client.Encrypt(ctx, &awskms.EncryptInput{KeyId: id, Plaintext: plaintext, EncryptionContext: bound(aad)}, s.patient)
		if err == nil {
			wrapped = out.CiphertextBlob
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("wrap under %s: %w", keyRef, err)
	}
	return wrapped, nil
}

// Unwrap decrypts what Wrap encrypted, by this key and no other.
func (s *Service) Unwrap(ctx context.Context, keyRef string, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) == 0 || len(wrapped) > maxWrapped {
		return nil, fmt.Errorf("unwrap under %s: %w", keyRef, kms.ErrAuth)
	}
	var plaintext []byte
	err := s.use(ctx, keyRef, func(id *string) error {
		out, err := s.client.Decrypt(ctx, &awskms.DecryptInput{KeyId: id, CiphertextBlob: wrapped, EncryptionContext: bound(aad)}, s.patient)
		if err == nil {
			plaintext = out.Plaintext
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("unwrap under %s: %w", keyRef, err)
	}
	return plaintext, nil
}

// bound is the encryption context of aad.
func bound(aad []byte) map[string]string {
	sum := sha256.Sum256(aad)
	return map[string]string{contextKey: base64.StdEncoding.EncodeToString(sum[:])}
}

// Disable disables the key.
func (s *Service) Disable(ctx context.Context, keyRef string) error {
	err := s.use(ctx, keyRef, func(id *string) error {
		_, err := s.client.DisableKey(ctx, &awskms.DisableKeyInput{KeyId: id}, s.patient)
		return err
	})
	if err != nil {
		return fmt.Errorf("disable master key %s: %w", keyRef, err)
	}
	return nil
}

// Enable enables the key.
func (s *Service) Enable(ctx context.Context, keyRef string) error {
	err := s.use(ctx, keyRef, func(id *string) error {
		_, err := s.client.EnableKey(ctx, &awskms.EnableKeyInput{KeyId: id}, s.patient)
		return err
	})
	if err != nil {
		return fmt.Errorf("enable master key %s: %w", keyRef, err)
	}
	return nil
}

// Destroy schedules the key for deletion, as soon as AWS allows.
func (s *Service) Destroy(ctx context.Context, keyRef string) error {
	err := s.use(ctx, keyRef, func(id *string) error {
		_, err := s.client.ScheduleKeyDeletion(ctx, &awskms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(waitingDays)}, s.patient)
		return err
	})
	if err != nil && !errors.Is(err, kms.ErrDestroyed) {
		return fmt.Errorf("destroy master key %s: %w", keyRef, err)
	}
	return nil
}

// Recovery returns eight days: seven in which an administrator of the account can
// cancel the deletion, and the day by which AWS may be late.
func (s *Service) Recovery() time.Duration { return (waitingDays + 1) * 24 * time.Hour }

// Development reports false.
func (s *Service) Development() bool { return false }

// use calls fn with the id of the key, and says why that failed. A reference that
// isn't an ARN of this region can't be of a key that was made here; one that is,
// and that AWS has forgotten, is of a key whose waiting time has ended.
func (s *Service) use(ctx context.Context, keyRef string, fn func(id *string) error) error {
	if a, err := arn.Parse(keyRef); err != nil || a.Service != "kms" || a.Region != s.region || !strings.HasPrefix(a.Resource, "key/") {
		return kms.ErrNoKey
	}
	err := fn(&keyRef)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*types.KMSInvalidStateException](err); ok {
		if _, ferr := s.find(ctx, &keyRef, s.patient); ferr != nil {
			return gone(ferr)
		}
	}
	return gone(explain(err))
}

func gone(err error) error {
	if errors.Is(err, errForgotten) {
		return kms.ErrDestroyed.Because(err)
	}
	return err
}

// patient asks again for a key that isn't there: it may be too young.
func (s *Service) patient(o *awskms.Options) {
	o.Retryer = retry.AddWithErrorCodes(o.Retryer, (*types.NotFoundException)(nil).ErrorCode())
}

// explain translates what AWS answers. Of its words only the code is kept: the
// rest may repeat what was sent.
func explain(err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return kms.ErrUnavailable.Because(err)
	}
	why := errors.New(api.ErrorCode())
	switch api.ErrorCode() {
	case "NotFoundException":
		return errForgotten
	case "DisabledException":
		return kms.ErrDisabled.Because(why)
	case "InvalidCiphertextException", "IncorrectKeyException":
		return kms.ErrAuth.Because(why)
	default: // refused, throttled, out of order
		return kms.ErrUnavailable.Because(why)
	}
}
