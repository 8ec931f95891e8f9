// Package cleanup stops many VMs at once and removes what crashed processes left.
//
// [Coordinator] owns nothing. It sequences calls to the managers through the small
// interfaces it declares.
package cleanup
