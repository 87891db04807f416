module extproc.dev/bench/coraza

go 1.25
