  ;; Answers with one byte: the number of requests that this instance has served.
  (global $served (mut i32) (i32.const 0))
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (global.set $served (i32.add (global.get $served) (i32.const 1)))
    (i32.store8 (i32.const 1032) (global.get $served))
    (i32.store (i32.const 1024) (i32.const 1032))
    (i32.store (i32.const 1028) (i32.const 1))
    (call $reply (i32.const 1024) (i32.const 1)))
