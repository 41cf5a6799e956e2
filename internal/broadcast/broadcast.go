// Package broadcast carries short messages to all processes of the platform over
// Redis. It is an acceleration: a message may be lost, and whoever relies on one
// must be right, only later, without it.
package broadcast

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// Channel is one kind of messages, of opaque ids.
type Channel struct {
	Redis redis.UniversalClient
	Name  string // in Redis
	Lost  string // what it means, for the log, that a message can't leave
	Log   *slog.Logger
}

const publishTimeout = time.Second

// Send sends a message to all who listen, this process included. A Redis that
// doesn't answer is logged, with attrs.
func (c *Channel) Send(ctx context.Context, message string, attrs ...any) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	if err := c.Redis.Publish(ctx, c.Name, message).Err(); err != nil {
		c.Log.WarnContext(ctx, "a message to all processes is lost", append(attrs, "meaning", c.Lost, "err", err)...)
	}
}

// Listen calls hear for each message until ctx ends. The connection is made anew
// when it is lost.
func (c *Channel) Listen(ctx context.Context, hear func(message string)) error {
	heard := c.Redis.Subscribe(ctx, c.Name)
	defer func() { _ = heard.Close() }()
	messages := heard.Channel()
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return fmt.Errorf("listen to %s: %w", c.Name, redis.ErrClosed)
			}
			hear(m.Payload)
		case <-ctx.Done():
			return nil
		}
	}
}
