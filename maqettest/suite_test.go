package maqettest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/maqettest"
)

// TestExamples runs the suite of the example.
func TestExamples(t *testing.T) {
	t.Cleanup(func() { require.NoError(t, maqettest.Close()) })
	t.Run("page", testPage)
	t.Run("delete user", testDeleteUser)
	t.Run("users", testUsers)
}
