package errors_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// TestProblem: each part that is known is in the text, in the form that editors jump to.
func TestProblem(t *testing.T) {
	for want, p := range map[string]errors.Problem{
		"memory: is too small":                          {Field: "memory", Message: "is too small"},
		`memory "5": is too small (use more)`:           {Field: "memory", Value: "5", Message: "is too small", Fix: "use more"},
		"a.yaml:3:9: memory: is too small":              {File: "a.yaml", Line: 3, Column: 9, Field: "memory", Message: "is too small"},
		"a.yaml: does not exist (did you mean b.yaml?)": {File: "a.yaml", Message: "does not exist", Fix: "did you mean b.yaml?"},
		`a.yaml:1:1: "x": is not a key`:                 {File: "a.yaml", Line: 1, Column: 1, Value: "x", Message: "is not a key"},
		"a.yaml:1:1: is not YAML":                       {File: "a.yaml", Line: 1, Column: 1, Message: "is not YAML", Snippet: "   1 | x"},
	} {
		require.Equal(t, want, p.String())
	}
}

// TestConfigErrorShowsLines: below each problem is its line, further in than the problem.
func TestConfigErrorShowsLines(t *testing.T) {
	one := errors.Problem{File: "a.yaml", Line: 1, Column: 1, Field: "x", Message: "is wrong", Snippet: "   1 | x: 1\n     | ^"}
	err := &errors.ConfigError{Problems: []errors.Problem{one}}
	require.Equal(t, "configuration: a.yaml:1:1: x: is wrong\n     1 | x: 1\n       | ^", err.Error())
	err = &errors.ConfigError{VM: "web", Problems: []errors.Problem{one, {Field: "y", Message: "too"}}}
	require.Equal(t, "configuration of VM \"web\": 2 problems\n  a.yaml:1:1: x: is wrong\n       1 | x: 1\n         | ^\n  y: too", err.Error())
	require.True(t, err.Has("x"))
	require.False(t, err.Has("z"))
	require.ErrorIs(t, err, errors.ErrConfigValidation)
	err.Kind = errors.ErrConfigFileNotFound
	require.ErrorIs(t, err, errors.ErrConfigFileNotFound)
}
