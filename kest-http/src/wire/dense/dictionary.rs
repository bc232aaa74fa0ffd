//! What the text is expected to say.

/// Headers and a payload as kest writes them, in the notation of the text; what is likeliest last. It is part of the
/// form: who changes a byte of it makes a new form, with a number of its own.
pub(super) const TEXT: &[u8] = b"\
    denied approved audit order payment account transfer customer email amount currency region tenant name status \
    trusted untrusted user_input llm_output external internal third_party verified_tool sanitized pii unverified \
    https://accounts.example.com/ spiffe://example.org/ns/default/sa/ spiffe://prod.example.com/ \
    0\x82\x02\x010\x82\x01\xa7\xa0\x03\x02\x01\x02\x02\x110\x0a\x06\x08*\x86H\xce=\x04\x03\x020\x1e1\x0b0\x09\x06\
    \x03U\x04\x06\x13\x02US1\x0f0\x0d\x06\x03U\x04\x0a\x0c\x06SPIFFE0\x1e\x17\x0d261122101010Z\x17\x0d261122111010Z\
    0\x1d1\x0b0\x09\x06\x03U\x04\x06\x13\x02US1\x0e0\x0c\x06\x03U\x04\x0a\x13\x05SPIRE0Y0\x13\x06\x07*\x86H\xce=\
    \x02\x01\x06\x08*\x86H\xce=\x03\x01\x07\x03B\0\x04\xa3\x81\xb20\x81\xaf0\x0e\x06\x03U\x1d\x0f\x01\x01\xff\x04\
    \x04\x03\x02\x03\xa80\x1d\x06\x03U\x1d%\x04\x160\x14\x06\x08+\x06\x01\x05\x05\x07\x03\x01\x06\x08+\x06\x01\x05\
    \x05\x07\x03\x020\x0c\x06\x03U\x1d\x13\x01\x01\xff\x04\x020\x000\x1d\x06\x03U\x1d\x0e\x04\x16\x04\x140\x1f\x06\
    \x03U\x1d#\x04\x180\x16\x80\x140/\x06\x03U\x1d\x11\x04(0&\x86$spiffe://0\x0a\x06\x08*\x86H\xce=\x04\x03\x02\
    \x03I\x000F\x02!\x00\x02!\x00\
    \x11{\"alg\":\"HS256\",\"kid\":\"mock\",\"typ\":\"JWS\"}\0\
    \x11{\"alg\":\"ES384\",\"kid\":\"\x08\",\"typ\":\"JWS\"}\0\
    \x11{\"alg\":\"PS256\",\"kid\":\"\x08\",\"typ\":\"JWS\"}\0\
    \x11{\"alg\":\"RS256\",\"kid\":\"\x08\",\"typ\":\"JWS\"}\0\
    \x11{\"alg\":\"ES256\",\"kid\":\"\x08\",\"typ\":\"JWS\",\"x5c\":[\"\x0a\x85\x04\
    {\"added_taints\":[\"unverified\"],\"classification\":\"data\",\"content_hash\":\"\",\"entry_id\":\"\x07\x04\",\
    \"environment\":{},\"input_hash\":\"\x06\",\"labels\":{\"kest.identity\":\"{\\\"agent\\\":\\\"\\\",\\\"task\
    \\\":\\\"\\\",\\\"user\\\":{\\\"role\\\":\\\"\\\",\\\"roles\\\":[\\\"\\\"],\\\"sub\\\":\\\"\\\"}}\",\
    \"kest.resource_attr\":\"{\\\"amount\\\":,\\\"owner\\\":\\\"\\\"}\",\"kest.resource_id\":\"\",\"principal\":\
    \"spiffe://\",\"trace_id\":\"\x05\"},\"metadata\":{\"completes\":\"\x03\",\"function\":\"::\",\"outcome\":\"ok\
    \",\"policies\":{\"kest/allow_trusted\":\"sha256:\x06\"},\"trust\":{\"model\":\"guide\",\"override\":{},\
    \"source_type\":\"user_input\"}},\"operation\":\"kest.snapshot\",\"otel_context\":{},\"parent_ids\":[\"0\"],\
    \"policy_context\":{\"app_policies\":[\"app/\"],\"deviations\":[{\"approver\":null,\"policy\":\"\",\"reason\":\
    \"\",\"tier\":\"platform\"}],\"enterprise_policies\":[\"corp/baseline\"],\"function_policies\":[\
    \"kest/allow_trusted\"],\"platform_policies\":[\"platform/\"]},\"removed_taints\":[\"unverified\"],\
    \"runtime\":{\"name\":\"kest-rust\",\"version\":\"0.1.0\"},\"schema_version\":\"0.3.0\",\
    \"taints\":[\"unverified\"],\"timestamp_ms\":\x09\0,\"trust_score\":40}\0@\
    \x11{\"alg\":\"EdDSA\",\"kid\":\"\x08\",\"typ\":\"JWS\"}\0\
    {\"added_taints\":[],\"classification\":\"system\",\"content_hash\":\"\",\"entry_id\":\"\x07\0\",\
    \"environment\":{},\"input_hash\":\"\",\"labels\":{\"kest.identity\":\"{\\\"user\\\":\\\"\\\"}\",\
    \"principal\":\"spiffe://\",\"trace_id\":\"\x03\x02\"},\"metadata\":{\"function\":\"\",\"policies\":{\
    \"kest/allow_trusted\":\"sha256:\x03\x03\"},\"trust\":{\"model\":\"guide\",\"override\":null,\
    \"source_type\":null}},\"operation\":\"\",\"otel_context\":{\"span_id\":\"\x04\",\"trace_id\":\"\x03\x02\"},\
    \"parent_ids\":[\"\x02\0\"],\"policy_context\":{\"app_policies\":[],\"deviations\":[],\"enterprise_policies\":\
    [],\"function_policies\":[\"kest/allow_trusted\"],\"platform_policies\":[]},\"removed_taints\":[],\
    \"runtime\":{\"name\":\"kest-rust\",\"version\":\"0.1.0\"},\"schema_version\":\"0.3.0\",\
    \"taints\":[],\"timestamp_ms\":\x09\0,\"trust_score\":100}\0@\x12\0";
