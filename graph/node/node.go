// Package node has the GraphQL interface Node: all that has an id.
package node

// Node is a domain object with an id. The domain's types are plain structs and
// know nothing of GraphQL, so any may be given; the executor refuses what the
// schema doesn't list.
type Node any
