// Package benchmarks compares maqet with the bare limit, or with a peer, in one run
// each, and reports ratios. It is a module of its own, so that what maqet is compared
// with is no dependency of maqet.
//
//	make bench
//
// Each benchmark runs both sides in turns, MAQET_RUNS times (default 11), whatever
// -benchtime says, and reports the medians in milliseconds and their ratio. Figures
// of machines differ; ratios hold.
package benchmarks
