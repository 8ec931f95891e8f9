// Package layered reads YAML and JSON files into trees that know where each value stands,
// merges the trees of several files, and fills Go values from the result.
//
// It knows nothing of what is configured: which lists have names, which values are paths
// and which Go type is filled comes from the caller as [Rules] and by reflection.
//
// [Merge] is associative and idempotent on trees that [Arranger.Arrange] has seen.
package layered
