  ;; Recurses until its stack overflows.
  (func $deeper (param $depth i64) (result i64)
    (i64.add (local.get $depth) (call $deeper (i64.add (local.get $depth) (i64.const 1)))))
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (drop (call $deeper (i64.const 0)))
    unreachable)
