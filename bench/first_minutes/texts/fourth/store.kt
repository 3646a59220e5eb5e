const val PAGE_LIMIT = 40
data class Patient(val id: Long, val name: String)
object Registry {
    private val cache = HashMap<Long, Patient>()
    fun findPatient(id: Long): Patient? = cache[id]
}
