// Package jobs moves the platform's long work: the relay hands due jobs to the
// queue, the server carries out what the queue delivers, the reconciler finds
// what the queue or a worker lost, and the sweeper does what is due regularly.
//
// The rows of package job are the truth; the queue holds ids and may lose or
// repeat them at any time. Wiping it delays work by seconds and changes nothing
// else.
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/tenant"
)

// ErrQueue reports that the queue doesn't answer.
var ErrQueue = errs.New(errs.Unavailable, "the queue doesn't answer just now; try again")

// Delivery is what the queue carries: ids only.
type Delivery struct {
	Tenant tenant.ID `json:"tenant"`
	Job    string    `json:"job"`
	Number int       `json:"delivery"` // see job.Job.Delivery
}

func deliveryOf(j *job.Job) Delivery { return Delivery{j.Tenant, j.ID, j.Delivery} }

// id is unique to the delivery, so that the queue holds it once.
func (d Delivery) id() string { return d.Job + ":" + strconv.Itoa(d.Number) }

// Queue brings deliveries to workers.
type Queue interface {
	// Enqueue hands a delivery over. One that the queue holds already stays as it is.
	Enqueue(ctx context.Context, d Delivery) error
	// Holds reports whether the delivery waits in the queue, or is in the hands of a
	// worker that hasn't claimed its job yet.
	Holds(ctx context.Context, d Delivery) (bool, error)
}

var _ Queue = (*AsynqQueue)(nil)

// AsynqQueue is a Queue in Redis by Asynq. Asynq's own retries, uniqueness and
// archive are not used: the job's row has all that, and survives Redis.
type AsynqQueue struct {
	redis     redis.UniversalClient
	inspector *asynq.Inspector
}

const (
	queueName = "jobs"
	taskType  = "job"

	// taskTimeout is how long Asynq waits for a handler. It only has to exceed
	// the timeout of an attempt, which is what ends the work.
	taskTimeout = 24 * time.Hour
)

// OpenRedis returns a client for the URL, whose scheme is redis, rediss or unix.
// It doesn't connect yet.
func OpenRedis(url string) (*redis.Client, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		// The parser's error may repeat the URL, and with it a password.
		return nil, errs.New(errs.Invalid, "not a redis://, rediss:// or unix:// URL")
	}
	return redis.NewClient(options), nil
}

// NewAsynqQueue returns the queue in a Redis.
func NewAsynqQueue(r redis.UniversalClient) *AsynqQueue {
	return &AsynqQueue{r, asynq.NewInspectorFromRedisClient(r)}
}

// Ping returns nil when Redis answers.
func (q *AsynqQueue) Ping(ctx context.Context) error {
	if err := q.redis.Ping(ctx).Err(); err != nil {
		return ErrQueue.Because(err)
	}
	return nil
}

// Enqueue implements Queue.
func (q *AsynqQueue) Enqueue(ctx context.Context, d Delivery) error {
	payload, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode delivery: %w", err)
	}
	// A client makes the queue's name known in Redis once in its life. Only a
	// fresh one does so in a Redis that was wiped.
	client := asynq.NewClientFromRedisClient(q.redis)
	_, err = client.EnqueueContext(ctx, asynq.NewTask(taskType, payload), asynq.Queue(queueName), asynq.TaskID(d.id()),
		asynq.MaxRetry(0), asynq.Timeout(taskTimeout), asynq.Retention(0))
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return ErrQueue.Because(err)
	}
	return nil
}

// Holds implements Queue. Asynq takes a task from a worker that died, within two
// minutes.
func (q *AsynqQueue) Holds(_ context.Context, d Delivery) (bool, error) {
	task, err := q.inspector.GetTaskInfo(queueName, d.id())
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return false, nil
	}
	if err != nil {
		return false, ErrQueue.Because(err)
	}
	return task.State == asynq.TaskStatePending || task.State == asynq.TaskStateActive, nil
}
