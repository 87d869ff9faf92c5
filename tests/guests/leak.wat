  ;; Grows its memory by one page in each request, and writes to it: 64 KiB that a singleton never returns.
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (local $at i32)
    (local.set $at (i32.mul (memory.grow (i32.const 1)) (i32.const 65536)))
    (memory.fill (local.get $at) (i32.const 1) (i32.const 65536))
    (call $reply (local.get 2) (local.get 3)))
