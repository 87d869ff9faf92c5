  ;; Logs the first frame as text, and rejects the request with it as the reason.
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (call $log (i32.const 2) (i32.load (local.get 2)) (i32.load offset=4 (local.get 2)))
    (call $fail (i32.const 0) (i32.load (local.get 2)) (i32.load offset=4 (local.get 2))))
