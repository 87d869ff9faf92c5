  ;; Rejects every request.
  (data (i32.const 1024) "ask for something else")
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (call $fail (i32.const 0) (i32.const 1024) (i32.const 22)))
