  ;; Answers with one frame of 32 MiB.
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (i32.store (i32.const 1024) (call $allocate (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0x2000000)))
    (i32.store (i32.const 1028) (i32.const 0x2000000))
    (call $reply (i32.const 1024) (i32.const 1)))
