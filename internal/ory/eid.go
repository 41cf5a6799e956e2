package ory

import (
	"context"
	"fmt"
	"strings"

	"github.com/vogter/vogter/internal/personal"
)

// NationalID returns the national identification number that an identity carries
// in its metadata, which people can't change themselves: claim is its place,
// "metadata_admin.NAME" or "metadata_public.NAME". It is empty when there is none.
func (c *Client) NationalID(ctx context.Context, identity, claim string) (personal.Text, error) {
	found, res, err := c.admin.IdentityAPI.GetIdentity(ctx, identity).Execute()
	drop(res)
	if err != nil {
		return personal.Text{}, fmt.Errorf("find identity %s: %w", identity, failed(res, err))
	}
	place, name, _ := strings.Cut(claim, ".")
	var carried any
	switch place {
	case "metadata_admin":
		carried = found.MetadataAdmin
	case "metadata_public":
		carried = found.MetadataPublic
	}
	metadata, _ := carried.(map[string]any)
	number, _ := metadata[name].(string)
	return personal.NewText(number), nil
}
